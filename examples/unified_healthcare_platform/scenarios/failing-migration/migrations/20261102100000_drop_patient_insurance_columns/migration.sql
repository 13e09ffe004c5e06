/*
  Warnings:

  - You are about to drop the column `insuranceNumber` on the `Patient` table. All the data in the column will be lost.
  - You are about to drop the column `insurerName` on the `Patient` table. All the data in the column will be lost.
  - A unique constraint covering the columns `[memberNumber]` on the table `InsurancePolicy` will be added. If there are existing duplicate values, this will fail.

*/
-- AlterTable
ALTER TABLE "Patient" DROP COLUMN "insuranceNumber",
DROP COLUMN "insurerName";

-- CreateIndex
CREATE UNIQUE INDEX "InsurancePolicy_memberNumber_key" ON "InsurancePolicy"("memberNumber");
